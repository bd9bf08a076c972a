"""FakeReasoning: a vision-language model that detects a generated image and explains why (arXiv 2503.21210)."""
