"""What a distillation came to, as one page to look at."""
