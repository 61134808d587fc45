"""LeWorldModel (LeWM, arXiv 2603.19312) and SIGReg, its regulariser."""
