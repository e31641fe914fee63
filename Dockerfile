# syntax=docker/dockerfile:1
# One image for server, worker and migrations: `taskloom serve`, `taskloom worker`, `taskloom migrate`.

FROM python:3.13-slim AS build
WORKDIR /srv/taskloom
RUN python -m pip install --no-cache-dir --root-user-action=ignore uv==0.13.8
COPY pyproject.toml requirements.lock ./
# What the project itself depends on, without the extras, in the versions and with the hashes of the lock.
# With bytecode, which the user below may not write: a start takes half the time.
RUN uv venv /opt/venv && uv pip install --python /opt/venv --compile-bytecode --require-hashes \
    --requirements pyproject.toml --constraints requirements.lock

# GraphiQL needs Node, which the image does not.
FROM build AS graphiql
RUN uv venv /opt/node && uv pip install --python /opt/node --require-hashes --no-deps -r requirements.lock
COPY app ./app
RUN /opt/node/bin/python -m app.dashboard.build && test -f app/dashboard/graphiql/dist/site/index.html

FROM python:3.13-slim
RUN useradd --system --uid 10001 --no-create-home taskloom
WORKDIR /srv/taskloom
COPY --from=build /opt/venv /opt/venv
COPY app ./app
COPY workers ./workers
RUN /opt/venv/bin/python -m compileall -q app workers
COPY --from=graphiql /srv/taskloom/app/dashboard/graphiql/dist ./app/dashboard/graphiql/dist
RUN printf '#!/bin/sh\nexec /opt/venv/bin/python -m app.cli "$@"\n' > /usr/local/bin/taskloom && chmod 755 /usr/local/bin/taskloom
ENV PYTHONUNBUFFERED=1 PYTHONPATH=/srv/taskloom
USER taskloom
EXPOSE 8000
# SIGTERM, which Docker sends, lets a worker drain.
ENTRYPOINT ["taskloom"]
CMD ["serve"]
