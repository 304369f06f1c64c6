"""Students in other backends: ONNX and int8 folders, checked against torch and timed beside it."""
