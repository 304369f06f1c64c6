"""The results of a report: front, best models under a budget, and losses to the teacher."""
