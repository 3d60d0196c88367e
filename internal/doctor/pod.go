package doctor

import (
	"path"
	"slices"
	"strings"
)

// metadata is what matters of an object's.
type metadata struct {
	Name, Namespace     string
	Labels, Annotations map[string]string
	Generation          int64
}

// A deployment is what matters of a Deployment.
type deployment struct {
	Metadata metadata
	Spec     struct {
		Replicas *int
		Template struct {
			Metadata metadata
			Spec     podSpec
		}
	}
	Status *struct {
		ObservedGeneration             int64
		UpdatedReplicas, ReadyReplicas int
	}
}

// ref is how people call it.
func (d *deployment) ref() string {
	return ref(kindDeployment, d.Metadata.Namespace, d.Metadata.Name)
}

type podSpec struct {
	Containers []container
	Volumes    []volume
}

type container struct {
	Name, Image   string
	Command, Args []string
	VolumeMounts  []struct{ Name, MountPath, SubPath string }
	Ports         []struct {
		Name          string
		ContainerPort int
	}
}

type volume struct {
	Name      string
	Secret    *volumeSource
	ConfigMap *volumeSource
	Projected *struct {
		Sources []struct{ Secret, ConfigMap *volumeSource }
	}
}

// A volumeSource is a Secret or a ConfigMap whose keys become files.
type volumeSource struct {
	Name, SecretName string
	Items            []struct{ Key, Path string }
}

// An origin is the key that a file of a pod comes from.
type origin struct{ kind, name, key string }

// sources are the Secrets and ConfigMaps of a volume.
func (v *volume) sources(each func(kind string, source *volumeSource)) {
	tell := func(secret, configMap *volumeSource) {
		if secret != nil {
			each(kindSecret, secret)
		}
		if configMap != nil {
			each(kindConfigMap, configMap)
		}
	}
	tell(v.Secret, v.ConfigMap)
	if v.Projected != nil {
		for _, s := range v.Projected.Sources {
			tell(s.Secret, s.ConfigMap)
		}
	}
}

// object is the name of a source; only a Secret that is a volume of its own has it under another field.
func (s *volumeSource) object() string {
	if s.SecretName != "" {
		return s.SecretName
	}
	return s.Name
}

// key is the key that becomes the file of a name, and whether there may be one.
func (s *volumeSource) key(file string) (string, bool) {
	if s.Items == nil {
		return file, true
	}
	for _, item := range s.Items {
		if item.Path == file {
			return item.Key, true
		}
	}
	return "", false
}

// volumeOf is the volume that a file of a container is in, and its path below there; nil where there is none.
func (p *podSpec) volumeOf(c *container, file string) (v *volume, below string) {
	best := ""
	for _, mount := range c.VolumeMounts {
		rest, ok := strings.CutPrefix(file, strings.TrimSuffix(mount.MountPath, "/")+"/")
		if ok && mount.SubPath == "" && (best == "" || len(rest) < len(below)) {
			best, below = mount.Name, rest
		}
	}
	for i := range p.Volumes {
		if best != "" && p.Volumes[i].Name == best {
			return &p.Volumes[i], below
		}
	}
	return nil, ""
}

// origins are what a file of a container may come from; a projected volume has several sources.
func (p *podSpec) origins(c *container, file string) (found []origin) {
	v, below := p.volumeOf(c, file)
	if v == nil {
		return nil
	}
	v.sources(func(kind string, source *volumeSource) {
		if key, ok := source.key(below); ok {
			found = append(found, origin{kind, source.object(), key})
		}
	})
	return found
}

// configMaps calls for each ConfigMap that a container mounts, with the directory where it is.
func (p *podSpec) configMaps(c *container, each func(directory string, source *volumeSource)) {
	for _, mount := range c.VolumeMounts {
		for i := range p.Volumes {
			if p.Volumes[i].Name != mount.Name || mount.SubPath != "" {
				continue
			}
			p.Volumes[i].sources(func(kind string, source *volumeSource) {
				if kind == kindConfigMap {
					each(mount.MountPath, source)
				}
			})
		}
	}
}

// opaque tells whether a volume holds something else than Secrets and ConfigMaps.
func (v *volume) opaque() bool {
	if v.Projected == nil {
		return v.Secret == nil && v.ConfigMap == nil
	}
	return slices.ContainsFunc(v.Projected.Sources, func(s struct{ Secret, ConfigMap *volumeSource }) bool { return s.Secret == nil && s.ConfigMap == nil })
}

// place is where a key of a source is below the directory of its volume.
func (s *volumeSource) place(directory, key string) (string, bool) {
	if s.Items == nil {
		return path.Join(directory, key), true
	}
	for _, item := range s.Items {
		if item.Key == key {
			return path.Join(directory, item.Path), true
		}
	}
	return "", false
}

// isServer tells whether a container is ratify's server: nothing else is told to serve with such a directory.
func isServer(c *container) bool {
	all := slices.Concat(c.Command, c.Args)
	_, ok := flagOf(all, "cert-dir")
	return ok && slices.Contains(all, "serve")
}

// flagOf is the last value of a flag in arguments, as Go's flag packages read it.
func flagOf(args []string, name string) (value string, ok bool) {
	for i, arg := range args {
		trimmed := strings.TrimPrefix(strings.TrimPrefix(arg, "-"), "-")
		if trimmed == arg {
			continue
		}
		if given, after, cut := strings.Cut(trimmed, "="); given == name && cut {
			value, ok = after, true
		} else if given == name && i+1 < len(args) {
			value, ok = args[i+1], true
		}
	}
	return value, ok
}

// serversOf are the Deployments of a namespace that run ratify, and which of their containers does.
func serversOf(deployments []deployment, namespace string) (list []*server) {
	for i := range deployments {
		d := &deployments[i]
		for j := range d.Spec.Template.Spec.Containers {
			if c := &d.Spec.Template.Spec.Containers[j]; isServer(c) && d.Metadata.Namespace == namespace {
				list = append(list, &server{deployment: d, container: c})
			}
		}
	}
	return list
}

// A Running is where a program of ratify's runs.
type Running struct {
	Namespace, Deployment, Container string
	// Config is the path of its configuration.
	Config string
}

// Servers are the Deployments that run ratify.
func (s *Snapshot) Servers() (list []Running) {
	deployments, _ := decoded[deployment](s, kindDeployment)
	for _, v := range serversOf(deployments, s.namespace) {
		config, _ := flagOf(slices.Concat(v.container.Command, v.container.Args), "config")
		list = append(list, Running{s.namespace, v.deployment.Metadata.Name, v.container.Name, config})
	}
	return list
}

// mounted is what the servers' pods mount and what must be known of it: ConfigMaps as they are, and of Secrets the
// configuration and certificates alone.
func (s *Snapshot) mounted() []wanted {
	deployments, _ := decoded[deployment](s, kindDeployment)
	found := map[wanted]bool{}
	for _, v := range serversOf(deployments, s.namespace) {
		pod := &v.deployment.Spec.Template.Spec
		pod.configMaps(v.container, func(_ string, source *volumeSource) {
			found[wanted{kind: kindConfigMap, namespace: s.namespace, name: source.object()}] = true
		})
		all := slices.Concat(v.container.Command, v.container.Args)
		config, _ := flagOf(all, "config")
		pair, _ := flagOf(all, "cert-dir")
		ca, _ := flagOf(all, "client-ca")
		for _, file := range []string{config, path.Join(pair, "tls.crt"), ca} {
			for _, o := range pod.origins(v.container, file) {
				if o.kind == kindSecret {
					found[wanted{kind: kindSecret, namespace: s.namespace, name: o.name, key: o.key}] = true
				}
			}
		}
	}
	// Gatekeeper's own has been read.
	if s.gatekeeperNamespace() == s.namespace {
		delete(found, wanted{kind: kindSecret, namespace: s.namespace, name: gatekeeperSecret, key: "ca.crt"})
	}
	var list []wanted
	for w := range found {
		list = append(list, w)
	}
	return list
}
