#!/bin/sh
set -eu
case "${1-}" in
  migrate) exec psql --set ON_ERROR_STOP=1 --file all.psql "$DATABASE_URL" ;;
  list) psql --version | sed 's/ .*//'; id -un; cat all.psql ;;
  *) exec "$@" ;;
esac
