// A service that answers; with -check it asks itself once and ends.
package main

import (
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
)

var version = "unknown"

func answer(w http.ResponseWriter, _ *http.Request) {
	fmt.Fprintf(w, "service %s\n", version)
}

func main() {
	check := flag.Bool("check", false, "ask once and end")
	flag.Parse()
	if !*check {
		http.ListenAndServe(":8080", http.HandlerFunc(answer))
		return
	}
	server := httptest.NewServer(http.HandlerFunc(answer))
	defer server.Close()
	response, err := http.Get(server.URL)
	if err != nil {
		panic(err)
	}
	body, _ := io.ReadAll(response.Body)
	fmt.Print(string(body))
}
