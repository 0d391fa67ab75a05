# CPU:  docker build -t mtl_jax .
# CUDA: docker build -t mtl_jax:cuda --build-arg EXTRAS=cuda13,sr .   (JAX includes CUDA; the host needs the driver)
# Run:  docker run --rm -v "$PWD":/work mtl_jax --config=/opt/mtl_jax/configs/mttl.py:demo --workdir=runs/demo
FROM python:3.12-slim
ARG EXTRAS=sr
WORKDIR /opt/mtl_jax
COPY pyproject.toml README.md LICENSE ./
COPY mtl_jax mtl_jax
COPY configs configs
COPY tools tools
COPY checkpoints/formulas checkpoints/formulas
RUN pip install --no-cache-dir --editable ".[$EXTRAS]"
# The cache stays in the mounted folder when the container is removed.
ENV MTL_JAX_CACHE=/work/cache
WORKDIR /work
ENTRYPOINT ["python", "-m", "mtl_jax.main"]
