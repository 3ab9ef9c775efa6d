"""Training after the paper, at the size of a laptop: data made here, joint losses, a loop that resumes."""
