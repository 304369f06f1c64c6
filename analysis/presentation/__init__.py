"""Tables, colours and figures that both commands and the report use. Nothing here reads runs."""
