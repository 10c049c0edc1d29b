"""Joules of requests that run together: power explained by what is in the batch, and each request's part of it.

work     what every request does at each time: images encoded, prompt tokens computed, tokens decoded
rates    joules of each kind of work and watts of an idle and of a busy device, from readings and work alone
shares   of each request: what its work caused, and its part of what nobody caused alone
served   the three for the requests of one domain
"""
