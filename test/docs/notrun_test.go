package docs

// Why commands are not run.
const (
	cluster  = "it needs a cluster"
	signer   = "it signs: the world holds what it makes"
	scanner  = "it looks into an image: the world holds what it writes"
	attacher = "it attaches: the world holds what it pushes"
	machine  = "it changes this machine, and the names of the page are replaced anyway"
	fetcher  = "it asks the public instance: the world has a private one"
)

// notRun are the commands that the pages say and the test does not run, each with the reason: they need a cluster, or they
// are other people's programs, and the world holds what they make. What is in no list fails the test, and so does what is in
// this one and in no page.
var notRun = map[string]string{
	`kubectl logs -n gatekeeper-system -l app.kubernetes.io/name=ratify --tail=-1 --prefix | grep WOULD_BE_REFUSED`:                                                               cluster,
	`cosign sign --key cosign.key registry.example/acme/web@sha256:…`:                                                                                                             signer,
	`cosign trusted-root create --with-default-services --out trusted_root.json`:                                                                                                  fetcher,
	`kubectl create secret docker-registry pull-secret --namespace gatekeeper-system --docker-server=harbor.internal:8443 --docker-username=puller --docker-password="$PASSWORD"`: cluster,
	`kubectl exec -n gatekeeper-system deploy/ratify -- /ratify login-check --config /etc/ratify/config/config.yaml harbor.internal:8443/acme/web:v1`:                             cluster,
	`cosign attest --key cosign.key --type slsaprovenance1 --predicate provenance.json registry.example/acme/app@sha256:…`:                                                        signer,
	`cosign attest --key cosign.key --type spdxjson --predicate sbom.json registry.example/acme/shop@sha256:…`:                                                                    signer,
	`syft registry.example/acme/attached:v1 -o cyclonedx-json > sbom.json`:                                                                                                        scanner,
	`oras attach --artifact-type application/vnd.cyclonedx+json registry.example/acme/attached:v1 sbom.json:application/vnd.cyclonedx+json`:                                       attacher,
	`notation sign registry.example/acme/attached@sha256:…   # the digest that oras attach printed`:                                                                               signer,
	`sudo mkdir -p /etc/ratify && sudo ln -s "$PWD/tenants" /etc/ratify/tenants`:                                                                                                  machine,
	`kubectl create configmap tenants --namespace gatekeeper-system --from-file=tenants/`:                                                                                         cluster,
	`kubectl exec -n gatekeeper-system deploy/ratify -- /ratify check /etc/ratify/config/config.yaml`:                                                                             cluster,
	`kubectl apply -f library/tenants/template.yaml`:                                                                                                                              cluster,
	`trivy image --format cosign-vuln --output scan.json registry.example/acme/scanned:v1`:                                                                                        scanner,
	`cosign attest --key cosign.key --type vuln --predicate scan.json registry.example/acme/scanned@sha256:…`:                                                                     signer,
	`trivy image --format sarif --output scan.sarif registry.example/acme/sarif:v1`:                                                                                               scanner,
	`oras attach --artifact-type application/sarif+json registry.example/acme/sarif:v1 scan.sarif:application/sarif+json`:                                                         attacher,
	`notation sign registry.example/acme/sarif@sha256:…   # the digest that oras attach printed`:                                                                                  signer,
	`vexctl create --product pkg:oci/cleared@sha256%3A… --vuln CVE-2021-44228 --status not_affected --justification vulnerable_code_not_in_execute_path > vex.json`:               scanner,
	`cosign attest --key cosign.key --type openvex --predicate vex.json registry.example/acme/cleared@sha256:…`:                                                                   signer,
}
