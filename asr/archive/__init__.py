"""Archives: any number of items into one file of lines, on one machine or many, interrupted or not.

Items are cut into *blocks*. What is decoded together comes from one block alone, and a block gets into the file whole
or not at all. So a run that was killed goes on where its file ends, and gives what it would have given.
"""
