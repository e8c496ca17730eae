"""Is my port right? Two models side by side: the verdict, the first layer that differs, and the cause."""
