"""What does this C or Fortran program print, if that is defined at all?"""
