# The control plane: the same image serves the admin API, works on jobs and migrates; which is the command's to say.
FROM python:3.13.9-slim-trixie AS build
WORKDIR /build
# Without pip: it stays here, with whatever else a build needs.
RUN python -m venv --without-pip /opt/datastore
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY src src
RUN pip --python /opt/datastore/bin/python install --no-cache-dir --constraint constraints.txt '.[service,backfill]'

FROM python:3.13.9-slim-trixie
RUN groupadd --gid 10001 datastore \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir / --shell /usr/sbin/nologin datastore \
    && install --directory --owner 10001 --group 10001 /exports
COPY --from=build /opt/datastore /opt/datastore
ENV PATH=/opt/datastore/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    DATASTORE_EXPORTS=/exports
USER 10001:10001
WORKDIR /
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s --retries=3 \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8080/health', timeout=4)"]
ENTRYPOINT ["datastore"]
CMD ["serve", "--host", "0.0.0.0"]
