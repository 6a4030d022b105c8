"""Tenants and their hosts, as django-tenants wants them declared."""

from django.db import models
from django_tenants.models import DomainMixin, TenantMixin


class Customer(TenantMixin):
    """A tenant; its schema is made by the benchmark."""

    auto_create_schema = False

    name = models.TextField()


class Domain(DomainMixin):
    """A host of a tenant."""
