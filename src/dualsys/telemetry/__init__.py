"""What a run leaves behind: statistics, logs, figures, films."""
