package compose

// verdict is what becomes of an attribute of the Compose Specification.
type verdict int

const (
	honoured verdict = iota // means what the specification says; some values may still be refused, by name
	warned                  // has no effect here, which does no harm: a warning says so
	refused                 // would change how the app behaves if it were ignored: an error says so
)

// rule is the verdict on one attribute and the reason that the user is told.
type rule struct {
	verdict verdict
	why     string
}

var (
	yes   = rule{verdict: honoured}
	later = rule{refused, "not supported yet"}
)

func warn(why string) rule { return rule{warned, why} }
func no(why string) rule   { return rule{refused, why} }

// attributeRules gives the verdict on every attribute that compose-go knows, by its path; "*" stands for a user's key
// or for an element of a list. What lies below a warned or refused attribute shares its fate. The test holds that no
// attribute of compose-go's types is missing.
func attributeRules() map[string]rule {
	rules := map[string]rule{
		"name":       yes,
		"services":   yes,
		"networks":   yes,
		"volumes":    yes,
		"secrets":    yes,
		"configs":    yes,
		"jobs":       later,
		"models":     no("AI models are not run; name the endpoint in environment"),
		"services.*": yes,
		"networks.*": yes,
		"volumes.*":  yes,
		"secrets.*":  yes,
		"configs.*":  yes,
	}
	for prefix, group := range map[string]map[string]rule{
		"services.*.":                        serviceRules,
		"services.*.build.":                  buildRules,
		"services.*.deploy.":                 deployRules,
		"services.*.deploy.update_config.":   updateRules,
		"services.*.deploy.rollback_config.": updateRules,
		"services.*.networks.*.":             serviceNetworkRules,
		"services.*.ports.*.":                portRules,
		"services.*.volumes.*.":              serviceVolumeRules,
		"services.*.configs.*.":              fileRules,
		"services.*.secrets.*.":              fileRules,
		"services.*.build.secrets.*.":        buildSecretRules,
		"networks.*.":                        networkRules,
		"volumes.*.":                         volumeRules,
		"configs.*.":                         configRules,
		"secrets.*.":                         secretRules,
	} {
		for name, r := range group {
			rules[prefix+name] = r
		}
	}
	return rules
}

var serviceRules = map[string]rule{
	"name":                   yes,
	"annotations":            warn("annotations are not passed to the container runtime"),
	"attach":                 warn("it concerns `docker compose up` only; see `ikada logs`"),
	"blkio_config":           no("limits of block I/O are not supported"),
	"build":                  yes,
	"cap_add":                yes,
	"cap_drop":               yes,
	"cgroup":                 yes,
	"cgroup_parent":          no("ikada places tasks in control groups of its own"),
	"command":                yes,
	"configs":                yes,
	"configs.*":              yes,
	"container_name":         warn("tasks are named SERVICE.SLOT; the name is kept as a network alias"),
	"cpu_count":              no("it is for Windows; use cpus"),
	"cpu_percent":            no("it is for Windows; use cpus"),
	"cpu_period":             yes,
	"cpu_quota":              yes,
	"cpu_rt_period":          no("real-time scheduling is not supported"),
	"cpu_rt_runtime":         no("real-time scheduling is not supported"),
	"cpu_shares":             yes,
	"cpus":                   yes,
	"cpuset":                 yes,
	"credential_spec":        no("it is for Windows"),
	"depends_on":             yes,
	"depends_on.*":           yes,
	"depends_on.*.condition": yes,
	"depends_on.*.required":  yes,
	"depends_on.*.restart":   warn("a dependent service is not restarted with the one it depends on"),
	"deploy":                 yes,
	"develop":                warn("it concerns `docker compose watch` only"),
	"device_cgroup_rules":    no("devices of the node are not given to tasks"),
	"devices":                no("devices of the node are not given to tasks"),
	"dns":                    yes,
	"dns_opt":                warn("options of the resolver are not set"),
	"dns_search":             yes,
	"dockerfile":             no("the specification has moved it to build.dockerfile"),
	"domainname":             warn("only the host name is set"),
	"entrypoint":             yes,
	"env_file":               yes,
	"env_file.*":             yes,
	"env_file.*.path":        yes,
	"env_file.*.required":    yes,
	"env_file.*.format":      yes,
	"environment":            yes,
	"expose":                 yes,
	"extends":                yes,
	"extends.file":           yes,
	"extends.service":        yes,
	"external_links":         no("containers outside the app cannot be reached by name"),
	"extra_hosts":            yes,
	"gpus":                   no("devices of the node are not given to tasks"),
	"group_add":              yes,

	"healthcheck":                yes,
	"healthcheck.test":           yes,
	"healthcheck.timeout":        yes,
	"healthcheck.interval":       yes,
	"healthcheck.retries":        yes,
	"healthcheck.start_period":   yes,
	"healthcheck.start_interval": yes,
	"healthcheck.disable":        yes,

	"hostname":           yes,
	"image":              yes,
	"init":               yes,
	"ipc":                yes,
	"isolation":          yes,
	"label_file":         yes,
	"labels":             yes,
	"links":              yes,
	"log_driver":         no("use logging.driver"),
	"log_opt":            no("use logging.options"),
	"logging":            yes,
	"logging.driver":     yes,
	"logging.options":    yes,
	"mac_address":        no("ikada assigns hardware addresses"),
	"mem_limit":          yes,
	"mem_reservation":    yes,
	"mem_swappiness":     yes,
	"memswap_limit":      yes,
	"models":             no("AI models are not run; name the endpoint in environment"),
	"net":                no("use networks"),
	"network_mode":       yes,
	"networks":           yes,
	"networks.*":         yes,
	"oom_kill_disable":   yes,
	"oom_score_adj":      yes,
	"pid":                yes,
	"pids_limit":         yes,
	"platform":           yes,
	"ports":              yes,
	"ports.*":            yes,
	"post_start":         later,
	"pre_start":          later,
	"pre_stop":           later,
	"privileged":         yes,
	"profiles":           yes,
	"provider":           no("providers are plugins of Docker Compose"),
	"pull_policy":        yes,
	"pull_refresh_after": warn("images are resolved again at every deploy that says pull_policy: always"),
	"read_only":          yes,
	"restart":            yes,
	"runtime":            yes,
	"scale":              yes,
	"secrets":            yes,
	"secrets.*":          yes,
	"security_opt":       yes,
	"shm_size":           yes,
	"stdin_open":         yes,
	"stop_grace_period":  yes,
	"stop_signal":        yes,
	"storage_opt":        no("limits of a container's file system are not supported"),
	"sysctls":            yes,
	"tmpfs":              yes,
	"tty":                yes,
	"ulimits":            yes,
	"ulimits.*":          yes,
	"ulimits.*.single":   yes,
	"ulimits.*.soft":     yes,
	"ulimits.*.hard":     yes,
	"umask":              no("the process sets its own umask"),
	"use_api_socket":     no("there is no Docker socket"),
	"user":               yes,
	"userns_mode":        yes,
	"uts":                yes,
	"volume_driver":      no("volumes are directories of the node"),
	"volumes":            yes,
	"volumes.*":          yes,
	"volumes_from":       no("name the volumes under volumes"),
	"working_dir":        yes,
}

var buildRules = map[string]rule{
	"context":             yes,
	"dockerfile":          yes,
	"dockerfile_inline":   yes,
	"additional_contexts": yes,
	"args":                yes,
	"cache_from":          warn("the node keeps the build cache itself"),
	"cache_to":            warn("the node keeps the build cache itself"),
	"entitlements":        no("builds get no further rights"),
	"extra_hosts":         yes,
	"isolation":           no("it is for Windows"),
	"labels":              yes,
	"network":             yes,
	"no_cache":            yes,
	"no_cache_filter":     no("use no_cache"),
	"platforms":           yes,
	"privileged":          no("builds get no further rights"),
	"provenance":          warn("no attestation is attached to the image"),
	"pull":                yes,
	"sbom":                warn("no attestation is attached to the image"),
	"secrets":             yes,
	"secrets.*":           yes,
	"shm_size":            yes,
	"ssh":                 yes,
	"ssh.*":               yes,
	"ssh.*.id":            yes,
	"ssh.*.path":          yes,
	"tags":                yes,
	"target":              yes,
	"ulimits":             no("limits within builds are not supported"),
}

var deployRules = map[string]rule{
	"endpoint_mode":                            yes,
	"labels":                                   yes,
	"mode":                                     yes,
	"placement":                                yes,
	"placement.constraints":                    yes,
	"placement.max_replicas_per_node":          yes,
	"placement.preferences":                    yes,
	"placement.preferences.*":                  yes,
	"placement.preferences.*.spread":           yes,
	"replicas":                                 yes,
	"resources":                                yes,
	"resources.limits":                         yes,
	"resources.limits.cpus":                    yes,
	"resources.limits.memory":                  yes,
	"resources.limits.pids":                    yes,
	"resources.limits.devices":                 no("devices of the node are not given to tasks"),
	"resources.limits.generic_resources":       no("generic resources are not supported"),
	"resources.reservations":                   yes,
	"resources.reservations.cpus":              yes,
	"resources.reservations.memory":            yes,
	"resources.reservations.pids":              no("process numbers cannot be reserved; use resources.limits.pids"),
	"resources.reservations.devices":           no("devices of the node are not given to tasks"),
	"resources.reservations.generic_resources": no("generic resources are not supported"),
	"restart_policy":                           yes,
	"restart_policy.condition":                 yes,
	"restart_policy.delay":                     yes,
	"restart_policy.max_attempts":              yes,
	"restart_policy.window":                    yes,
	"rollback_config":                          yes,
	"update_config":                            yes,
}

var updateRules = map[string]rule{
	"delay":             yes,
	"failure_action":    yes,
	"max_failure_ratio": yes,
	"monitor":           yes,
	"order":             yes,
	"parallelism":       yes,
}

var serviceNetworkRules = map[string]rule{
	"aliases":                yes,
	"driver_opts":            warn("networks have no driver options"),
	"gw_priority":            warn("a task has one gateway"),
	"interface_name":         no("a task has one interface, eth0"),
	"ipv4_address":           no("ikada assigns addresses; use the service's name"),
	"ipv6_address":           no("ikada assigns addresses; use the service's name"),
	"link_local_ips":         no("ikada assigns addresses; use the service's name"),
	"mac_address":            no("ikada assigns hardware addresses"),
	"priority":               warn("a task has one interface"),
	"use_service_name_alias": yes,
}

var portRules = map[string]rule{
	"name":         warn("ports are told apart by number"),
	"mode":         yes,
	"host_ip":      yes,
	"target":       yes,
	"published":    yes,
	"protocol":     yes,
	"app_protocol": yes,
}

var serviceVolumeRules = map[string]rule{
	"type":                  yes,
	"source":                yes,
	"target":                yes,
	"read_only":             yes,
	"consistency":           warn("mounts are always consistent"),
	"bind":                  yes,
	"bind.create_host_path": yes,
	"bind.propagation":      yes,
	"bind.recursive":        yes,
	"bind.selinux":          warn("SELinux labels are not set"),
	"volume":                yes,
	"volume.labels":         warn("give labels to the volume itself"),
	"volume.nocopy":         yes,
	"volume.subpath":        yes,
	"tmpfs":                 yes,
	"tmpfs.size":            yes,
	"tmpfs.mode":            yes,
	"image":                 no("images are not mounted"),
}

var fileRules = map[string]rule{
	"source": yes,
	"target": yes,
	"uid":    yes,
	"gid":    yes,
	"mode":   yes,
}

var buildSecretRules = map[string]rule{
	"source": yes,
	"target": yes,
	"uid":    warn("the Dockerfile's RUN --mount sets it"),
	"gid":    warn("the Dockerfile's RUN --mount sets it"),
	"mode":   warn("the Dockerfile's RUN --mount sets it"),
}

var networkRules = map[string]rule{
	"name":        warn("networks belong to their app and environment"),
	"driver":      yes,
	"driver_opts": warn("networks have no driver options"),
	"ipam":        warn("ikada assigns addresses"),
	"external":    yes,
	"internal":    yes,
	"attachable":  warn("only tasks join networks"),
	"labels":      warn("networks have no labels"),
	"enable_ipv4": yes,
	"enable_ipv6": yes,
}

var volumeRules = map[string]rule{
	"name":        yes,
	"driver":      yes,
	"driver_opts": no("volumes are directories of the node; bind a mounted directory instead"),
	"external":    yes,
	"labels":      yes,
}

var configRules = map[string]rule{
	"name":            warn("configs belong to their release"),
	"file":            yes,
	"environment":     yes,
	"content":         yes,
	"external":        yes,
	"labels":          warn("configs have no labels"),
	"driver":          no("configs come from file, environment or content"),
	"driver_opts":     no("configs come from file, environment or content"),
	"template_driver": no("templates are not expanded"),
}

var secretRules = map[string]rule{
	"name":            yes, // of an external one
	"file":            yes,
	"environment":     yes,
	"content":         yes,
	"external":        yes,
	"labels":          warn("secrets have no labels"),
	"driver":          no("secrets come from file or environment"),
	"driver_opts":     no("secrets come from file or environment"),
	"template_driver": no("templates are not expanded"),
}
