"""Models of the transformers library, remote code on top of it, and modules with a generate of their own."""

from wattvlm.runtimes.transformers.runtime import TransformersRuntime

RUNTIME = TransformersRuntime()
