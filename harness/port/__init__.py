"""The model port, host side: HTTP requests of unmodified agents, answered through the broker of their session.

chat.py responses.py messages.py   the dialects: OpenAI Chat Completions, OpenAI Responses, Anthropic Messages
dialect.py   what every dialect gives, and the parts that they share     carry.py   reasoning that clients must hand back
policy.py    which names, tools and parameters pass       handler.py   answers frames       program.py   starts an agent
"""
