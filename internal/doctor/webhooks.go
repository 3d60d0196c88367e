package doctor

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/Masterminds/semver/v3"

	"github.com/ratify-provider/ratify"
)

// What Gatekeeper takes where it is told nothing, and which of its versions the template's suites run on.
const (
	gatekeeperCacheDefault = 3 * time.Minute
	oldestGatekeeper       = "3.17"
	servingThreads         = 64
	// The defaults of the API server for a webhook that says nothing (admissionregistration.k8s.io/v1).
	webhookTimeoutDefault = 10
	policyIgnore          = "Ignore"
	ignoreLabel           = "admission.gatekeeper.sh/ignore"
	nameLabel             = "kubernetes.io/metadata.name"
)

// A webhookConfiguration is a ValidatingWebhookConfiguration or a MutatingWebhookConfiguration.
type webhookConfiguration struct {
	Metadata metadata
	Webhooks []webhook
}

type webhook struct {
	Name              string
	FailurePolicy     string
	TimeoutSeconds    *int
	NamespaceSelector *selector
	ObjectSelector    *selector
	MatchConditions   []struct{ Name, Expression string }
	ClientConfig      struct {
		Service *struct{ Name, Namespace string }
	}
	Rules []rule

	ref string // of its configuration
}

type rule struct{ APIGroups, APIVersions, Operations, Resources []string }

func (w *webhook) timeout() time.Duration {
	if w.TimeoutSeconds == nil {
		return webhookTimeoutDefault * time.Second
	}
	return time.Duration(*w.TimeoutSeconds) * time.Second
}

// covers tells whether the rules have a request for a resource of the core group.
func (w *webhook) covers(operation, resource string) bool {
	has := func(list []string, item string) bool {
		return slices.Contains(list, item) || slices.Contains(list, "*")
	}
	return slices.ContainsFunc(w.Rules, func(r rule) bool {
		named := slices.Contains(r.Resources, resource) || slices.Contains(r.Resources, "*/*")
		if main, sub, ok := strings.Cut(resource, "/"); ok {
			named = named || slices.Contains(r.Resources, main+"/*") || slices.Contains(r.Resources, "*/"+sub)
		} else {
			named = named || slices.Contains(r.Resources, "*")
		}
		return named && has(r.APIGroups, "") && has(r.APIVersions, "v1") && has(r.Operations, operation)
	})
}

// A selector is a label selector.
type selector struct {
	MatchLabels      map[string]string
	MatchExpressions []struct {
		Key, Operator string
		Values        []string
	}
}

func (s *selector) empty() bool {
	return s == nil || len(s.MatchLabels) == 0 && len(s.MatchExpressions) == 0
}

// matches tells whether labels are selected. An operator that is unknown selects nothing.
func (s *selector) matches(labels map[string]string) bool {
	if s == nil {
		return true
	}
	for key, value := range s.MatchLabels {
		if labels[key] != value {
			return false
		}
	}
	for _, e := range s.MatchExpressions {
		value, there := labels[e.Key]
		ok := false
		switch e.Operator {
		case "In":
			ok = there && slices.Contains(e.Values, value)
		case "NotIn":
			ok = !there || !slices.Contains(e.Values, value)
		case "Exists":
			ok = there
		case "DoesNotExist":
			ok = !there
		}
		if !ok {
			return false
		}
	}
	return true
}

// hook finds Gatekeeper's webhook of a name. Without it the check at hand has no meaning: another one speaks of that.
func (x *examination) hook(kind, name string) *webhook {
	configurations, ok := list[webhookConfiguration](x, kind)
	if !ok {
		return nil
	}
	if w := findHook(configurations, kind, name); w != nil {
		return w
	}
	x.moot("there is no webhook " + name)
	return nil
}

func findHook(configurations []webhookConfiguration, kind, name string) *webhook {
	for _, c := range configurations {
		for i := range c.Webhooks {
			if w := &c.Webhooks[i]; w.Name == name {
				w.ref = ref(kind, "", c.Metadata.Name)
				return w
			}
		}
	}
	return nil
}

const (
	validation = "validation.gatekeeper.sh"
	mutation   = "mutation.gatekeeper.sh"
)

// gatekeeperService and gatekeeperNamespace are those of Gatekeeper's webhook, where it is asked by a Service.
func (s *Snapshot) gatekeeperNamespace() string {
	if _, namespace := s.webhookService(); namespace != "" {
		return namespace
	}
	return DefaultNamespace
}

func (s *Snapshot) gatekeeperService() string {
	if name, _ := s.webhookService(); name != "" {
		return name
	}
	return "gatekeeper-webhook-service"
}

func (s *Snapshot) webhookService() (name, namespace string) {
	configurations, _ := decoded[webhookConfiguration](s, kindValidating)
	if w := findHook(configurations, kindValidating, validation); w != nil && w.ClientConfig.Service != nil {
		return w.ClientConfig.Service.Name, w.ClientConfig.Service.Namespace
	}
	return "", ""
}

func gatekeeperChecks() []check {
	return []check{
		{"gatekeeper-version", "Gatekeeper's version is supported", LevelError, gatekeeperVersion},
		{"gatekeeper-ready", "Gatekeeper is there to answer", LevelError, gatekeeperReady},
		{"gatekeeper-external-data", "Gatekeeper asks providers of external data", LevelError, gatekeeperExternalData},
		{"gatekeeper-cache", "Gatekeeper keeps answers no longer than the provider is told", LevelError, gatekeeperCache},
		{"gatekeeper-threads", "Gatekeeper has threads for reviews that wait", LevelWarning, gatekeeperThreads},
	}
}

// gatekeepers are the Deployments of Gatekeeper that answer webhooks, and their arguments.
func (x *examination) gatekeepers(each func(d *deployment, image string, args []string)) {
	deployments, ok := list[deployment](x, kindDeployment)
	if !ok {
		return
	}
	found := false
	for i := range deployments {
		d := &deployments[i]
		for _, c := range d.Spec.Template.Spec.Containers {
			args := slices.Concat(c.Command, c.Args)
			if d.Metadata.Namespace != x.gatekeeperNamespace() || !slices.Contains(args, "--operation=webhook") {
				continue
			}
			found = true
			each(d, c.Image, args)
		}
	}
	if !found {
		x.unseenFor(&Unread{Reason: "no Deployment in namespace " + x.gatekeeperNamespace() + " runs Gatekeeper's webhook", Wanted: x.complete})
	}
}

func gatekeeperVersion(x *examination) {
	x.gatekeepers(func(d *deployment, image string, _ []string) {
		v, err := semver.NewVersion(version(image))
		if err != nil {
			x.unseenFor(&Unread{Reason: "the image " + ratify.Quote(image) + " does not tell Gatekeeper's version", Wanted: true})
			return
		}
		if v.LessThan(semver.MustParse(oldestGatekeeper)) {
			x.find(d.ref(), "Gatekeeper "+v.String()+" is older than "+oldestGatekeeper, "what its engine makes of the template and of answers is not tested; older ones lack what the template relies on",
				"install Gatekeeper "+oldestGatekeeper+" or newer")
		}
	})
}

// gatekeeperReady asks for one pod alone: with it reviews are answered, and a rollout is no gap.
func gatekeeperReady(x *examination) {
	configurations, _ := decoded[webhookConfiguration](x.Snapshot, kindValidating)
	w := findHook(configurations, kindValidating, validation)
	why := "every pod, and whatever else the webhook is asked about, is denied"
	if w != nil && w.FailurePolicy == policyIgnore {
		why = "by failurePolicy Ignore every image is admitted"
	}
	x.gatekeepers(func(d *deployment, _ string, _ []string) {
		message := ""
		switch {
		case d.replicas() == 0:
			message = "spec.replicas is 0"
		case d.Status == nil:
			x.moot("what was given does not say how Gatekeeper's pods are")
		case d.Status.ReadyReplicas == 0:
			message = fmt.Sprintf("0 of %d pods are ready", d.replicas())
		}
		if message != "" {
			x.find(d.ref(), "Gatekeeper is away: "+message, why,
				fmt.Sprintf("kubectl -n %s scale deploy/%s --replicas=3, and see why its pods do not get ready: kubectl -n %[1]s describe pods", d.Metadata.Namespace, d.Metadata.Name))
		}
	})
}

func gatekeeperExternalData(x *examination) {
	x.gatekeepers(func(d *deployment, _ string, args []string) {
		value, ok := flagOf(args, "enable-external-data")
		if on, err := strconv.ParseBool(value); ok && err == nil && !on {
			x.find(d.ref(), "--enable-external-data=false", "the template does not compile, and the constraint denies nothing", "set enableExternalData to true in Gatekeeper's chart")
		}
	})
}

func gatekeeperCache(x *examination) {
	x.gatekeepers(func(d *deployment, _ string, args []string) {
		ttl, said := gatekeeperCacheDefault, "unset, which is 3m"
		if value, ok := flagOf(args, "external-data-provider-response-cache-ttl"); ok {
			given, err := time.ParseDuration(value)
			if err != nil {
				x.unseenFor(&Unread{Reason: "Gatekeeper's cache time " + ratify.Quote(value) + " is no duration", Wanted: true})
				return
			}
			ttl, said = given, given.String()
		}
		x.configurations(func(s *server, c *Configuration) {
			switch {
			case !c.Decoded:
				x.moot("the configuration is not good")
			case ttl > c.GatekeeperCacheTTL:
				x.find(d.ref(), fmt.Sprintf("--external-data-provider-response-cache-ttl is %s, and %s tells ratify %s (gatekeeperCacheTTL)", said, s.settings.Config, c.GatekeeperCacheTTL),
					"Gatekeeper goes on with old answers for that time: whose signer is no longer trusted is still admitted, and who has just been trusted is still denied",
					fmt.Sprintf("set externaldataProviderResponseCacheTTL to %s in Gatekeeper's chart, or gatekeeper.cacheTTL to Gatekeeper's in ratify's", c.GatekeeperCacheTTL))
			}
		})
	})
}

func gatekeeperThreads(x *examination) {
	x.gatekeepers(func(d *deployment, _ string, args []string) {
		value, ok := flagOf(args, "max-serving-threads")
		if n, err := strconv.Atoi(value); !ok || err != nil || n < servingThreads {
			if !ok {
				value = "unset, which is one for each CPU"
			}
			x.find(d.ref(), "--max-serving-threads is "+ratify.Truncate(value), "a review holds a thread while it waits for the provider: some slow images make all others late",
				fmt.Sprintf("set maxServingThreads to %d in Gatekeeper's chart", servingThreads))
		}
	})
}

func webhookChecks() []check {
	return []check{
		{"webhook-failure-policy", "what Gatekeeper does not answer is denied", LevelError, webhookFailurePolicy},
		{"webhook-coverage", "Gatekeeper is asked about every pod and its ephemeral containers", LevelError, webhookCoverage},
		{"webhook-timeout", "the webhooks wait longer than Gatekeeper waits for the provider", LevelError, webhookTimeout},
		{"mutation-failure-policy", "where the digest cannot be added, the pod is denied", LevelWarning, mutationFailurePolicy},
		{"mutation-coverage", "images are pinned where they enter", LevelWarning, mutationCoverage},
	}
}

func webhookFailurePolicy(x *examination) {
	if w := x.hook(kindValidating, validation); w != nil && w.FailurePolicy == policyIgnore {
		x.find(w.ref, "webhook "+validation+" has failurePolicy Ignore", "while Gatekeeper is away, or late because a provider is, every image is admitted",
			"set validatingWebhookFailurePolicy to Fail in Gatekeeper's chart")
	}
}

func webhookCoverage(x *examination) {
	configurations, ok := list[webhookConfiguration](x, kindValidating)
	if !ok {
		return
	}
	w := findHook(configurations, kindValidating, validation)
	if w == nil {
		x.find("", "there is no webhook "+validation, "nothing asks Gatekeeper, so every image is admitted", "install Gatekeeper with its validating webhook")
		return
	}
	const unasked = "images come in there without being looked at"
	for _, want := range []struct{ operation, resource string }{{"CREATE", "pods"}, {"UPDATE", "pods"}, {"UPDATE", "pods/ephemeralcontainers"}} {
		if !w.covers(want.operation, want.resource) {
			x.find(w.ref, fmt.Sprintf("webhook %s has no rule for %s of %s", validation, want.operation, want.resource), unasked,
				fmt.Sprintf("add %s of %s to the rules (validatingWebhookCustomRules in Gatekeeper's chart)", want.operation, want.resource))
		}
	}
	for _, e := range w.narrowed() {
		x.find(w.ref, "webhook "+validation+" "+e, unasked, "take it away, or leave the check out with --skip webhook-coverage")
	}
}

// narrowed is what keeps a webhook from being asked, beside the exemptions that Gatekeeper ships with.
func (w *webhook) narrowed() (list []string) {
	for key, value := range orEmpty(w.NamespaceSelector).MatchLabels {
		list = append(list, fmt.Sprintf("is asked for namespaces with the label %s alone", ratify.Truncate(key+"="+value)))
	}
	for _, e := range orEmpty(w.NamespaceSelector).MatchExpressions {
		shipped := e.Operator == "DoesNotExist" && e.Key == ignoreLabel || e.Operator == "NotIn" && e.Key == nameLabel
		if !shipped {
			list = append(list, fmt.Sprintf("has the namespaceSelector %s %s %s", ratify.Truncate(e.Key), e.Operator, ratify.Truncate(commas(e.Values))))
		}
	}
	if !w.ObjectSelector.empty() {
		list = append(list, "has an objectSelector: whoever makes a pod chooses its labels")
	}
	for _, c := range w.MatchConditions {
		list = append(list, "has the matchCondition "+ratify.Quote(c.Name))
	}
	return list
}

func orEmpty(s *selector) *selector {
	if s == nil {
		return &selector{}
	}
	return s
}

// webhookTimeout compares the webhooks' timeouts with the Providers' for which they wait.
func webhookTimeout(x *examination) {
	x.compareTimeouts(kindValidating, validation, roleVerify, "validatingWebhookTimeoutSeconds", "admits the image")
	if on, _ := x.mutates(); on {
		x.compareTimeouts(kindMutating, mutation, roleMutate, "mutatingWebhookTimeoutSeconds", "leaves the tag")
	}
}

// compareTimeouts does so for one webhook; value is what Gatekeeper's chart calls its timeout, and ignored is what comes of
// failurePolicy Ignore.
func (x *examination) compareTimeouts(kind, name string, asks role, value, ignored string) {
	providers, ok := list[provider](x, kindProvider)
	if !ok {
		return
	}
	w := x.hook(kind, name)
	if w == nil {
		return
	}
	why := "the API server gives up before Gatekeeper does, and says only that: the denial does not name the image"
	if w.FailurePolicy == policyIgnore {
		why = "the API server gives up before Gatekeeper does, and by failurePolicy Ignore " + ignored
	}
	for _, p := range providers {
		if x.roleOf(&p) == asks && p.timeout() >= w.timeout() {
			x.find(w.ref, fmt.Sprintf("webhook %s has the timeout %s, and %s has %s", name, w.timeout(), p.ref(), p.timeout()), why,
				fmt.Sprintf("set %s in Gatekeeper's chart to more than the Provider's timeout, and gatekeeper.%[1]s in ratify's chart to the same", value))
		}
	}
}

func mutationFailurePolicy(x *examination) {
	if !x.mutating() {
		return
	}
	if w := x.hook(kindMutating, mutation); w != nil && w.FailurePolicy == policyIgnore {
		x.find(w.ref, "webhook "+mutation+" has failurePolicy Ignore", "where mutation is late, the pod is stored with its tag, which can move between verification and pull",
			"set mutatingWebhookFailurePolicy to Fail in Gatekeeper's chart")
	}
}

func mutationCoverage(x *examination) {
	if !x.mutating() {
		return
	}
	configurations, ok := list[webhookConfiguration](x, kindMutating)
	if !ok {
		return
	}
	const remedy = "set mutatingWebhookCustomRules in Gatekeeper's chart to pods on CREATE and pods/ephemeralcontainers on UPDATE"
	w := findHook(configurations, kindMutating, mutation)
	if w == nil {
		x.find("", "there is no webhook "+mutation, "nothing adds digests, although the mutations are there", "install Gatekeeper with its mutating webhook")
		return
	}
	for _, want := range []struct{ operation, resource string }{{"CREATE", "pods"}, {"UPDATE", "pods/ephemeralcontainers"}} {
		if !w.covers(want.operation, want.resource) {
			x.find(w.ref, fmt.Sprintf("webhook %s has no rule for %s of %s", mutation, want.operation, want.resource),
				"tags stay there, which can move between verification and pull", remedy)
		}
	}
	if w.covers("UPDATE", "pods") {
		x.find(w.ref, "webhook "+mutation+" is asked on UPDATE of pods", "labelling a pod that is older than the mutation changes its image, which restarts it", remedy)
	}
}

// mutating tells whether mutations add digests; without them the check at hand has no meaning.
func (x *examination) mutating() bool {
	on, unread := x.mutates()
	switch {
	case unread != nil:
		x.unseenFor(unread)
	case !on:
		x.moot("no mutation adds digests")
	}
	return on
}
