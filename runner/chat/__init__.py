"""From a conversation to tokens: chat templates, which are untrusted code, in their sandbox."""
