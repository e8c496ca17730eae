"""The page: one file of HTML that shows a tree of what was compared, whatever that was."""
