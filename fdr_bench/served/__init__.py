"""Servers that speak OpenAI's protocol: limits on what they are asked, requests, tries, and what they answer."""
