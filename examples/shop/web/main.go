// Command web is the shop's front: one page, and the form that orders. Everything it knows comes from the api.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"html/template"
	"io"
	"log"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

var page = template.Must(template.New("page").Parse(`<!doctype html>
<html lang="en"><meta charset="utf-8"><title>Shop</title>
<h1>{{.Greeting}}</h1>
<ul>{{range .Products}}
<li>{{.Name}}, {{.Price}} €{{end}}
</ul>
<p>{{.Orders}} orders so far</p>
</html>
`))

var api = http.Client{Timeout: 20 * time.Second}

func main() {
	greeting, err := os.ReadFile("/etc/shop/greeting")
	if err != nil {
		log.Fatal(err)
	}
	http.HandleFunc("GET /healthz", func(http.ResponseWriter, *http.Request) {})
	http.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) { show(w, string(greeting)) })
	http.HandleFunc("POST /orders", order)
	server := &http.Server{Addr: ":8080", ReadHeaderTimeout: 10 * time.Second}
	stop, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer cancel()
	ended := make(chan error, 1)
	go func() {
		<-stop.Done()
		ended <- server.Shutdown(context.Background())
	}()
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		log.Fatal(err)
	}
	if err := <-ended; err != nil {
		log.Fatal(err)
	}
}

func show(w http.ResponseWriter, greeting string) {
	var products []struct {
		Name  string
		Price int
	}
	listed, err := get("products")
	if err == nil {
		err = json.Unmarshal(listed, &products)
	}
	orders, ordersErr := get("orders")
	if err := errors.Join(err, ordersErr); err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	data := map[string]any{"Greeting": greeting, "Products": products, "Orders": strings.Count(string(orders), "\n")}
	if err := page.Execute(w, data); err != nil {
		log.Print(err)
	}
}

func get(path string) ([]byte, error) {
	response, err := api.Get("http://api:8080/" + path)
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(response.Body)
	if err := errors.Join(err, response.Body.Close()); err != nil {
		return nil, err
	}
	if response.StatusCode != http.StatusOK {
		return nil, errors.New(response.Status + ": " + string(b))
	}
	return b, nil
}

// order passes the form on.
func order(w http.ResponseWriter, r *http.Request) {
	response, err := api.Post("http://api:8080/orders", r.Header.Get("Content-Type"), http.MaxBytesReader(w, r.Body, 1<<10))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	w.WriteHeader(response.StatusCode)
	_, err = io.Copy(w, response.Body)
	if err := errors.Join(err, response.Body.Close()); err != nil {
		log.Print(err)
	}
}
