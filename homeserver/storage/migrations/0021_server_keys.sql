-- Nothing here yet.
SELECT 1;
