"""Types, protocols and base classes that the rooms share; nothing here does any work.

Shape legend, used in every comment of the project:
    B batch, T frames, H history, K horizon in blocks, N candidates, A action block (steps x action
    dim, flattened), a action dim of one step, D latent, P patches, C features of a patch, S state,
    p proprio, L episode length in steps, R rows (steps of a dataset), n simulator copies. Pictures
    are (3, height, width) uint8. Actions inside a Batch and inside a planner are z-scored;
    everywhere else they are in the task's own units.
"""
