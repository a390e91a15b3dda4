"""The command `mllm-widgets`: notebooks as pages that live by themselves, and what a reader of one will see."""

from .main import main

__all__ = ["main"]
