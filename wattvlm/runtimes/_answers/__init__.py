"""Requests and answers in the OpenAI form, whoever carries them: HTTP clients, or a library in this process."""
