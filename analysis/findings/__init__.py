"""What a report finds in the runs: the front, the best under each budget, what is lost to the teacher."""
