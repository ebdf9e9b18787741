FROM python:3.11-slim

ENV PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    DATA_DIR=/data

WORKDIR /app
COPY requirements.txt ./
RUN pip install --no-cache-dir --disable-pip-version-check -r requirements.txt

# The history lives in /data: mount a volume there. Where volumes belong to root (Railway), set RAILWAY_RUN_UID=0.
RUN useradd --system --uid 10001 --no-create-home bridge \
    && install --directory --owner=bridge /data

COPY app.py gunicorn.conf.py ./
COPY bridge ./bridge
COPY demo ./demo
USER bridge

EXPOSE 5050
HEALTHCHECK --interval=30s --timeout=5s --start-period=10s CMD ["python", "-c", \
    "import os, urllib.request as u; u.urlopen(f'http://127.0.0.1:{os.environ.get(\"PORT\") or 5050}/health', timeout=4)"]
CMD ["python", "app.py"]
