"""What only a GPU can tell. Each test also runs on the stand-in, where it shows that it can pass.

On a machine with a GPU, in the root of the repository, in this order: graphs, memory and streams; everything
else; and where it is installed, what finds memory that is used after it was freed.

    pip install -e '.[cuda13]' pytest hypothesis       # or cuda12
    export OPENBLAS_NUM_THREADS=4 CUPY_TF32=0
    python -m pytest --backend cupy -p no:benchmark -q -x -k cupy tests/gpu
    python -m pytest --backend cupy -p no:benchmark -q -rs --maxfail 30 tests
    compute-sanitizer --tool memcheck \\
        python -m pytest --backend cupy -p no:benchmark -q -k "cupy and not threads" tests/gpu/test_memory.py

Without `-p no:benchmark` the warnings of a plugin, where it is installed, count as failures. Babel, hassil
and matplotlib may be missing: those examples are skipped, and `-rs` says so. A comparison with PyTorch runs
on the same GPU where its PyTorch has one, with TensorFloat-32 off on both sides.
"""
