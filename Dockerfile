# CPU:  docker build -t mtl_jax .
# CUDA: docker build -t mtl_jax:cuda --build-arg EXTRAS=cuda13,onnx,sr .   (JAX includes CUDA; the host needs the
#       driver: 580 or newer for cuda13, 525 or newer for cuda12)
# Run:  docker run --rm --user "$(id -u):$(id -g)" -v "$PWD":/work mtl_jax run --config=mttl:demo --workdir=runs/demo
FROM python:3.12-slim
ARG EXTRAS=onnx,sr
WORKDIR /opt/mtl_jax
COPY pyproject.toml README.md LICENSE ./
COPY mtl_jax mtl_jax
COPY configs configs
COPY tools tools
COPY checkpoints/formulas checkpoints/formulas
RUN pip install --no-cache-dir ".[$EXTRAS]"
# The mounted folder is the home of any user, so that the cache, the key of the pseudonyms and
# converted weights are kept there when the container is removed.
ENV HOME=/work
WORKDIR /work
RUN useradd --uid 1000 --home-dir /work mtl_jax && chown mtl_jax /work
USER mtl_jax
ENTRYPOINT ["mtl-jax"]
