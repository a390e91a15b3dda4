"""Results as files, to be read again without the model, on another machine, or by another program.

What each module knows, from the bottom up: `places` (paths, and writing a file whole or not at all), `tree` (a result as plain values, and back),
`json_file` and `netcdf_file` (plain values with arrays in a file, and back), `files` (which of the two, and what is wrong with a file), `result` (what all
results have in common).  The format is written down in docs/data_format.md.  Nothing in a file can be run, and no pickle is written or read.
"""
