"""Multi-task knowledge distillation of language models.

mkd.pipeline.run takes a Config (mkd/config.py) and returns a Result (mkd/result.py).
"""
