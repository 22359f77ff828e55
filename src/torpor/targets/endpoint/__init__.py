"""Models behind an OpenAI-compatible address: how they are asked, within which bounds, and what their answers bill."""
