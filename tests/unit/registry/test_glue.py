"""AWS Glue's answers, by botocore's own stubs."""

import boto3
import pytest
from botocore.stub import Stubber

from dynatomic.counting.formats.avro_schema import SchemaRefusedError
from dynatomic.counting.formats.schemas import SchemaKey
from dynatomic.registry.answers import RegistryError, SchemaMissingError
from dynatomic.registry.glue import GlueRegistry

ID = "0b7d3a54-33a4-4ab4-9d21-2f6d6b1b9e11"


def test_a_schema_version_is_asked_for_by_its_id() -> None:
    session = boto3.Session(*("a", "s"), region_name="eu-west-1")
    client = session.client("glue")
    registry, key = GlueRegistry(client), SchemaKey("glue", ID)
    with Stubber(client) as stub:
        answer = {"SchemaDefinition": '"int"', "DataFormat": "AVRO", "SchemaVersionId": ID}
        stub.add_response("get_schema_version", answer, {"SchemaVersionId": ID})
        assert registry.fetch(key) == ['"int"']
        stub.add_response("get_schema_version", {**answer, "DataFormat": "JSON"})
        with pytest.raises(SchemaRefusedError):
            registry.fetch(key)
        stub.add_client_error("get_schema_version", "EntityNotFoundException", "secret")
        with pytest.raises(SchemaMissingError):
            registry.fetch(key)
        stub.add_client_error("get_schema_version", "AccessDeniedException", "secret")
        with pytest.raises(RegistryError, match=r"^GetSchemaVersion: AccessDeniedException$"):
            registry.fetch(key)
