package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// The port inside the namespace that a container of `docker run` is published at.
const runPort = 18080

// load hands an image over, and gives the ID by which Swarm's tasks use it without asking a registry for it.
func (d *docker) load(ctx context.Context, img v1.Image, ref string) (id string, err error) {
	r, w := io.Pipe()
	go func() { w.CloseWithError(writeArchive(w, img, ref)) }()
	if err := d.call(ctx, http.MethodPost, "/images/load?quiet=1", r, nil); err != nil {
		_ = r.CloseWithError(err)
		return "", err
	}
	hash, err := img.ConfigName()
	return hash.String(), err
}

// prepare hands the app's two versions over and starts one once: ikada is as warm.
func (d *docker) prepare(ctx context.Context, imgs images) (err error) {
	for i, img := range imgs {
		if d.images[i], err = d.load(ctx, img, fmt.Sprint("bench/hello:v", i+1)); err != nil {
			return err
		}
	}
	_, err = d.start(ctx, true)
	return err
}

// joinSwarm makes the daemon a swarm of one, unless it is.
func (d *docker) joinSwarm(ctx context.Context) error {
	if d.swarm {
		return nil
	}
	d.swarm = true
	return d.call(ctx, http.MethodPost, "/swarm/init", object{"ListenAddr": "127.0.0.1:2377", "AdvertiseAddr": "127.0.0.1"}, nil)
}

// service describes a Swarm service that updates all at once and starts new tasks first. Its tasks are on Docker's
// bridge and publish nothing: the routing mesh would only cost time, and needs IPVS in the kernel.
func service(name, image string, replicas int, checked bool) object {
	container := object{"Image": image}
	if checked { // Docker 20.10's earliest check comes an interval after the start
		container["Healthcheck"] = object{
			"Test":     []string{"CMD", "/bin/busybox", "wget", "-q", "-O", "/dev/null", fmt.Sprintf("http://127.0.0.1:%d/healthz", appPort)},
			"Interval": time.Second, "Timeout": 2 * time.Second, "Retries": 3,
		}
	}
	return object{"Name": name, "TaskTemplate": object{"ContainerSpec": container},
		"Mode":         object{"Replicated": object{"Replicas": replicas}},
		"UpdateConfig": object{"Parallelism": 0, "Order": "start-first", "Monitor": time.Second, "FailureAction": "pause"}}
}

// create starts a service and waits until its tasks run.
func (d *docker) create(ctx context.Context, spec object, image string, replicas int) (id string, err error) {
	var out struct{ ID string }
	if err := d.call(ctx, http.MethodPost, "/services/create", spec, &out); err != nil {
		return "", err
	}
	return out.ID, d.swapped(ctx, out.ID, image, replicas)
}

// update changes a service and tells when only tasks of the image ran. It returns once Swarm calls the update
// completed.
func (d *docker) update(ctx context.Context, id string, spec object, image string, replicas int) (time.Duration, error) {
	began := time.Now()
	var now struct{ Version struct{ Index uint64 } }
	if err := d.call(ctx, http.MethodGet, "/services/"+id, nil, &now); err != nil {
		return 0, err
	}
	if err := d.call(ctx, http.MethodPost, fmt.Sprintf("/services/%s/update?version=%d", id, now.Version.Index), spec, nil); err != nil {
		return 0, err
	}
	if err := d.swapped(ctx, id, image, replicas); err != nil {
		return 0, err
	}
	took := time.Since(began)
	return took, d.updated(ctx, id)
}

// swapped waits until the service's running tasks are want ones of the image, and every other one has ended. A task
// with a health check runs once that has passed.
func (d *docker) swapped(ctx context.Context, id, image string, want int) error {
	filter, err := json.Marshal(object{"service": []string{id}})
	if err != nil {
		return err
	}
	path := "/tasks?filters=" + url.QueryEscape(string(filter))
	return until(ctx, pollEvery, "Swarm's tasks", func() (bool, error) {
		var tasks []struct {
			Spec   struct{ ContainerSpec struct{ Image string } }
			Status struct{ State, Err string }
		}
		if err := d.call(ctx, http.MethodGet, path, nil, &tasks); err != nil {
			return false, err
		}
		fresh := 0
		for _, t := range tasks {
			switch state := t.Status.State; state {
			case "failed", "rejected":
				return false, fmt.Errorf("a task of Swarm %s: %s", state, t.Status.Err)
			case "complete", "shutdown", "orphaned", "remove":
			case "running":
				if t.Spec.ContainerSpec.Image != image {
					return false, nil
				}
				fresh++
			default:
				return false, nil
			}
		}
		return fresh == want, nil
	})
}

// updated waits until Swarm's own view of the update is final.
func (d *docker) updated(ctx context.Context, id string) error {
	return until(ctx, 50*time.Millisecond, "the end of Swarm's update", func() (bool, error) {
		var s struct {
			UpdateStatus struct{ State, Message string }
		}
		if err := d.call(ctx, http.MethodGet, "/services/"+id, nil, &s); err != nil {
			return false, err
		}
		if s.UpdateStatus.State == "paused" {
			return false, fmt.Errorf("Swarm paused the update: %s", s.UpdateStatus.Message) //nolint:staticcheck // a name
		}
		return s.UpdateStatus.State != "updating", nil
	})
}

// roll swaps the service's image for the other version; it makes the service first when there is none.
func (d *docker) roll(ctx context.Context, replicas int, checked bool) (time.Duration, error) {
	if d.service == "" {
		image := d.images[d.version]
		id, err := d.create(ctx, service("web", image, replicas, checked), image, replicas)
		if err != nil {
			return 0, err
		}
		d.service = id
	}
	d.version = 1 - d.version
	image := d.images[d.version]
	return d.update(ctx, d.service, service("web", image, replicas, checked), image, replicas)
}

// rollUnderLoad does the same with health checks, while a container beside the service takes the load.
func (d *docker) rollUnderLoad(ctx context.Context, o options) (time.Duration, error) {
	if d.beside.id == "" {
		c, err := d.run(ctx, d.images[0], true)
		if err != nil {
			return 0, err
		}
		d.beside = c
		err = until(ctx, answerEvery, "the container's answer", func() (bool, error) {
			return hello(ctx, d.direct, "http://"+c.address+"/") == nil, nil
		})
		if err != nil {
			return 0, err
		}
	}
	l := startLoad(ctx, "http://"+d.beside.address+"/", o.rate, d.dial)
	took, err := d.roll(ctx, o.replicas, true)
	_, failed := l.stop()
	return took, errors.Join(err, failed)
}

// removeService removes the service that is rolled, and the container that took the load.
func (d *docker) removeService(ctx context.Context) error {
	if d.beside.id != "" {
		if err := d.kill(ctx, d.beside); err != nil {
			return err
		}
		d.beside = container{}
	}
	id := d.service
	d.service = ""
	return d.remove(ctx, id)
}

// remove removes a service and waits until its containers are gone.
func (d *docker) remove(ctx context.Context, id string) error {
	if err := d.call(ctx, http.MethodDelete, "/services/"+id, nil, nil); err != nil {
		return err
	}
	return until(ctx, 50*time.Millisecond, "Swarm's containers to go", func() (bool, error) {
		var list []object
		err := d.call(ctx, http.MethodGet, "/containers/json?all=1&filters="+url.QueryEscape(`{"label":["com.docker.swarm.service.id=`+id+`"]}`), nil, &list)
		return len(list) == 0, err
	})
}

// container is one that `docker run -d` would have made.
type container struct {
	id      string
	address string // host:port at which it answers
}

// run creates and starts a container, with a published port or reached at its own address.
func (d *docker) run(ctx context.Context, image string, published bool) (container, error) {
	port := fmt.Sprintf("%d/tcp", appPort)
	spec := object{"Image": image}
	if published {
		spec["ExposedPorts"] = object{port: object{}}
		spec["HostConfig"] = object{"PortBindings": object{port: []object{{"HostPort": fmt.Sprint(runPort)}}}}
	}
	var c struct{ ID string }
	if err := d.call(ctx, http.MethodPost, "/containers/create", spec, &c); err != nil {
		return container{}, err
	}
	if err := d.call(ctx, http.MethodPost, "/containers/"+c.ID+"/start", nil, nil); err != nil {
		return container{}, err
	}
	if published {
		return container{c.ID, fmt.Sprintf("127.0.0.1:%d", runPort)}, nil
	}
	var info struct{ NetworkSettings struct{ IPAddress string } }
	err := d.call(ctx, http.MethodGet, "/containers/"+c.ID+"/json", nil, &info)
	return container{c.ID, fmt.Sprintf("%s:%d", info.NetworkSettings.IPAddress, appPort)}, err
}

// kill removes a container.
func (d *docker) kill(ctx context.Context, c container) error {
	return d.call(ctx, http.MethodDelete, "/containers/"+c.id+"?force=1", nil, nil)
}

// start runs a container, tells when it first answered, and removes it.
func (d *docker) start(ctx context.Context, published bool) (time.Duration, error) {
	began := time.Now()
	c, err := d.run(ctx, d.images[0], published)
	if err != nil {
		return 0, err
	}
	err = until(ctx, answerEvery, "the container's answer", func() (bool, error) {
		return hello(ctx, d.direct, "http://"+c.address+"/") == nil, nil
	})
	took := time.Since(began)
	if err != nil {
		return 0, err
	}
	return took, d.kill(ctx, c)
}
