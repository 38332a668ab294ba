package server

import (
	"context"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/internal/store"
)

// harmlessCapabilities are what every task has anyway, Docker's defaults.
var harmlessCapabilities = []string{"AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD", "NET_BIND_SERVICE",
	"NET_RAW", "SETFCAP", "SETGID", "SETPCAP", "SETUID", "SYS_CHROOT"}

// privileges gives what of a spec reaches beyond its environment, into the node or into what is another's, in words. Who
// may deploy that is as good as root on the node.
func privileges(ref api.EnvRef, spec *api.AppSpec) []string {
	var out []string
	for _, name := range slices.Sorted(maps.Keys(spec.Services)) {
		svc := spec.Services[name]
		add := func(format string, args ...any) { out = append(out, "service "+name+": "+fmt.Sprintf(format, args...)) }
		if svc.Privileged {
			add("privileged")
		}
		for _, c := range svc.CapAdd {
			if !slices.Contains(harmlessCapabilities, strings.TrimPrefix(strings.ToUpper(c), "CAP_")) {
				add("capability %s", strings.ToUpper(c))
			}
		}
		for _, o := range svc.SecurityOpt {
			if key, value, _ := strings.Cut(strings.Replace(o, ":", "=", 1), "="); key == "seccomp" && value == "unconfined" {
				add("no seccomp")
			}
		}
		for _, m := range svc.Mounts {
			if m.Type == api.MountBind {
				add("%s of the node", m.Source)
			}
		}
	}
	for _, c := range spec.AllChecks() {
		if to := c.URL(); to != "" && api.Near(to) {
			u, _ := url.Parse(to)
			out = append(out, "check "+c.Name+": "+u.Host+" as the node itself reaches it")
		}
	}
	for _, key := range slices.Sorted(maps.Keys(spec.Volumes)) {
		if host := spec.Volumes[key].HostName(ref, key); !strings.HasPrefix(host, ref.App+"_"+ref.Env+"_") {
			out = append(out, "volume "+host)
		}
	}
	return out
}

// refusePrivileges refuses a new release that reaches beyond its environment, unless an admin of the cluster asks for it
// or a kept release of the environment does so already, as an admin has then allowed: without that, to deploy anywhere
// would be to do anything.
func (s *Server) refusePrivileges(ctx context.Context, tx store.Tx, ref api.EnvRef, spec *api.AppSpec) error {
	who := callerOf(ctx)
	wants := privileges(ref, spec)
	if len(wants) == 0 || who.Grants.AllowCluster(api.RoleAdmin) {
		return nil
	}
	kept, err := store.List[api.Release](tx, store.ReleasesOf(ref))
	if err != nil {
		return err
	}
	for _, r := range kept {
		has := privileges(ref, &r.Spec)
		wants = slices.DeleteFunc(wants, func(w string) bool { return slices.Contains(has, w) })
	}
	if len(wants) == 0 {
		return nil
	}
	return api.Errorf(api.Forbidden, "%s reaches beyond its environment, which no kept release does: %s; %w", ref, strings.Join(wants, ", "),
		forbidden(who, api.RoleAdmin, api.Everywhere))
}
