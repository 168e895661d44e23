// The theme's FontAwesome would replace the <i> that the Play widget rewrites at every click.
window.FontAwesomeConfig = { autoReplaceSvg: false };
