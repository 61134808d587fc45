"""The methods beside LeWM, the controls and the ceiling: one file each."""
