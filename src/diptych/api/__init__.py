"""The Python API: each verb of the command line as a function; `diptych` exports them."""
