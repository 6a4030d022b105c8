"""The least that django-tenants documents, with what its documentation recommends for speed.

The server is told by libpq's own variables: PGHOST, PGPORT, PGUSER, PGDATABASE.
"""

import os

SECRET_KEY = "signs nothing"
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

DATABASES = {"default": {"ENGINE": "django_tenants.postgresql_backend", "NAME": os.environ["PGDATABASE"]}}
DATABASE_ROUTERS = ["django_tenants.routers.TenantSyncRouter"]

SHARED_APPS = ["django_tenants", "customers", "django.contrib.contenttypes"]
TENANT_APPS = ["inbox"]
INSTALLED_APPS = [*SHARED_APPS, *TENANT_APPS]
TENANT_MODEL = "customers.Customer"
TENANT_DOMAIN_MODEL = "customers.Domain"

TENANT_LIMIT_SET_CALLS = True
TENANT_MULTIPROCESSING_MAX_PROCESSES = max(2, os.cpu_count() or 2)
