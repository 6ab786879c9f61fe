# zskd-onnx for the CPU; for CUDA: --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cu126
FROM python:3.12-slim

ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
WORKDIR /src
COPY . .
RUN pip install --no-cache-dir --index-url "$TORCH_INDEX" 'torch>=2.9,<2.14' \
    && pip install --no-cache-dir . \
    && rm -rf /src/* \
    && useradd --uid 1000 --create-home zskd
USER zskd
WORKDIR /work
ENTRYPOINT ["zskd-onnx"]
