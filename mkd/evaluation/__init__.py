"""How good and how fast a model is: scores, speed, size, and what can be said of them."""
