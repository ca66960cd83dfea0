"""What only a GPU can tell. Each test also runs on the stand-in, where it shows that it can pass.

On a machine with a GPU, in the root of the repository, in this order:

    pip install -e '.[cuda13]' pytest hypothesis                    # or cuda12
    export CUPY_CACHE_DIR=$PWD/.cupy OPENBLAS_NUM_THREADS=4
    python -m pytest --backend cupy -p no:benchmark -q -x tests/gpu -k cupy           # graphs, memory, streams
    python -m pytest --backend cupy -p no:benchmark -q --maxfail 30 -rs tests         # everything else
    CUPY_TF32=0 compute-sanitizer --tool memcheck python -m pytest --backend cupy -p no:benchmark -q \\
        tests/gpu/test_memory.py -k "cupy and not threads"          # where it is installed: memory that was freed

Without `-p no:benchmark` the warnings of a plugin, where it is installed, count as failures. Babel, hassil and
matplotlib may be missing: those examples are skipped, and `-rs` says so. A comparison with PyTorch runs on the
same GPU where its PyTorch has one, with TensorFloat-32 off on both sides.
"""
