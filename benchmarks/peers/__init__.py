"""Other meters beside ours on the same virtual GPU: their environments, the programs that drive them, the plan."""
