// What carries the schema of SPDX, and is needed for nothing else: so that its requirements are not those of the tests.
module github.com/ratify-provider/ratify/test/documents

go 1.26.0

require github.com/anchore/syft v1.57.0
