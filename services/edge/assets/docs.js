// Starts Swagger UI on the API's own document, which lies beside the folder of this script, under whatever
// prefix that is. `validatorUrl: null`: nothing is sent elsewhere.
window.ui = SwaggerUIBundle({
  url: new URL("../openapi.json", document.currentScript.src).href,
  dom_id: "#swagger-ui",
  deepLinking: true,
  persistAuthorization: false,
  validatorUrl: null,
  presets: [SwaggerUIBundle.presets.apis],
});
