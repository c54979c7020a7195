// The token that is given under "Authorize" is kept until the page is left, and nowhere else.
SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#api",
  deepLinking: true,
  docExpansion: "none",
  persistAuthorization: false,
  // Otherwise the document's address is sent to another host.
  validatorUrl: null,
});
