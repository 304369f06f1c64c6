"""The report's pictures: each an info function that computes and a draw function that draws."""
